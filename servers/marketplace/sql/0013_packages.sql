-- Servers that the platform runs itself: the package of an entry. A connection's `header` may be the environment variable
-- that such a server reads its credential from.

ALTER TABLE catalogue_entries ADD COLUMN package jsonb CHECK (package IS NULL OR kind = 'external');

ALTER TABLE connections DROP CONSTRAINT connections_header_check;
ALTER TABLE connections ADD CONSTRAINT connections_header_check
    CHECK (header ~ '^(authorization|x-[a-z0-9-]{1,60}|[A-Z][A-Z0-9_]{0,63})$');
