"""The dataset's products: exports in the trade's formats, and finding products by their class. Content stays here."""
