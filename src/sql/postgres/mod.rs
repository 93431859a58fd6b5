//! PostgreSQL grammar and catalog to accesses.
