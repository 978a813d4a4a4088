"""The instance's web console: search and browse, German and English, no script in the page."""
