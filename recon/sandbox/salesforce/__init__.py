"""A Salesforce on loopback: the REST, Bulk 2.0 and login answers that clients meet, over the sandbox's store."""
