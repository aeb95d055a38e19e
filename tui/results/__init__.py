"""Results of queries: prompt answers, result tables and sweep tables, free of Textual."""
