"""Plotly figures from arrays and results; nothing here knows Streamlit."""
