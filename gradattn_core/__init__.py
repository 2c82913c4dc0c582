"""Find wrong labels in image datasets and show why: the core, without Prefect and without Streamlit."""

__version__ = "0.1.0"
