"""The page's own HTTP routes beside Streamlit's: what a client asks, and what it is answered."""
