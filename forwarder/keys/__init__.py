"""Where signing keys live: a file, a key management service. Which one, says the scheme of the key's URI."""
