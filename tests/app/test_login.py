"""Where the secrets name who logs people in, nothing is drawn before; else nobody is asked."""

from __future__ import annotations

import pathlib

from streamlit.testing.v1 import AppTest

ENTRY = str(pathlib.Path(__file__).parents[2] / "explorer" / "app.py")


def test_a_login_is_asked_for_before_anything_is_drawn() -> None:
    at = AppTest.from_file(ENTRY, default_timeout=60)
    at.secrets["auth"] = {"redirect_uri": "http://localhost/oauth2callback", "cookie_secret": "x", "client_id": "y"}
    at.run()
    assert [button.key for button in at.button] == ["log_in"]
    assert not at.exception
    assert len(at.markdown) + len(at.selectbox) == 0


def test_without_the_secrets_nobody_is_asked() -> None:
    at = AppTest.from_file(ENTRY, default_timeout=60).run()
    assert "log_in" not in [button.key for button in at.button]
    assert at.markdown
