-- Where the grant's statements may run: as in grants, NULL is anywhere.
ALTER TABLE requests ADD COLUMN route TEXT;
