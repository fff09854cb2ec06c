"""A plan under the hand: one setting for all layers, what single layers have otherwise, and every step back.

Nothing here knows Streamlit's pages; `explorer/panels/tuner.py` draws it.
"""
