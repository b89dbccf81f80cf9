"""Where the two datasets come from: files, Salesforce, an HTTP gateway in front of Sales Connect."""
