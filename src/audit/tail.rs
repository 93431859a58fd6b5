//! Reads the stream back: follows a file, picks records, shows them.
