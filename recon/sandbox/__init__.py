"""Two systems of your own on loopback: a Salesforce and a Sales Connect with a nightly sync, for demo, rehearsal and tests."""
