"""What comes out of a run: metrics, tables, pictures, figures of finished runs."""
