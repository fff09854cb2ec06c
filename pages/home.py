"""Home: one sentence, a layer's weights under the hand with what the network makes of it, and the ways in."""

from explorer import panels

panels.home_panel()
