"""A process with limits that parses files whose library doesn't validate them."""
