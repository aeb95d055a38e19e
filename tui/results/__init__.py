"""Tables under the prompt: what a query found."""
