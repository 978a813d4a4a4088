-- Tiers, licences, versions, ratings, and the way of an entry from its submission to its approval.

-- The owner of the tables is no superuser: without this it sees, and copies, only the entries that belong to no customer.
SELECT set_config('app.platform', 'on', true);

INSERT INTO server_checks (server_name, customer_id)
SELECT server_name, customer_id FROM catalogue_entries
ON CONFLICT (server_name) DO NOTHING; -- those of customers that 0002 did not see

ALTER TABLE customers ADD COLUMN tier text NOT NULL DEFAULT 'starter'
    CHECK (tier IN ('starter', 'professional', 'business', 'enterprise'));

ALTER TABLE catalogue_entries DROP CONSTRAINT catalogue_entries_approval_check;
ALTER TABLE catalogue_entries ADD CONSTRAINT catalogue_entries_approval_check
    CHECK (approval IN ('submitted', 'review', 'approved', 'suspended', 'rejected'));
ALTER TABLE catalogue_entries
    ADD COLUMN tier text NOT NULL DEFAULT 'starter'
        CHECK (tier IN ('starter', 'professional', 'business', 'enterprise')),
    ADD COLUMN needs_licence boolean NOT NULL DEFAULT false,
    ADD COLUMN direction text NOT NULL DEFAULT 'both' CHECK (direction IN ('input', 'output', 'both')),
    ADD COLUMN stars bigint NOT NULL DEFAULT 0,
    ADD COLUMN ratings bigint NOT NULL DEFAULT 0;

CREATE INDEX catalogue_entries_by_update ON catalogue_entries (updated_at);
CREATE INDEX server_tools_by_name ON server_tools (name);

CREATE TABLE server_versions (
    server_name  text NOT NULL REFERENCES catalogue_entries,
    version      text NOT NULL,
    customer_id  text REFERENCES customers,
    title        text NOT NULL,
    description  text NOT NULL,
    published_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (server_name, version)
);

INSERT INTO server_versions (server_name, version, customer_id, title, description, published_at)
SELECT server_name, version, customer_id, title, description, updated_at FROM catalogue_entries;

-- The words of an entry. Under row-level security an index serves leakproof operators only: comparisons of text are,
-- the operators of full-text search are not.
CREATE TABLE entry_words (
    word        text COLLATE "C" NOT NULL CHECK (length(word) BETWEEN 1 AND 60),
    server_name text NOT NULL REFERENCES catalogue_entries,
    customer_id text REFERENCES customers,
    PRIMARY KEY (word, server_name)
);

CREATE INDEX entry_words_of_server ON entry_words (server_name);

INSERT INTO entry_words (word, server_name, customer_id)
SELECT DISTINCT left(word, 60), server_name, customer_id
FROM catalogue_entries,
     regexp_split_to_table(
         lower(server_name || ' ' || title || ' ' || description || ' '
               || jsonb_path_query_array(tools, '$[*].name')::text), '[^[:alnum:]]+') AS word
WHERE word <> '';

CREATE TABLE licences (
    licence_id  text PRIMARY KEY CHECK (licence_id ~ '^lic_[a-z2-7]{26}$'),
    customer_id text NOT NULL REFERENCES customers,
    server_name text NOT NULL REFERENCES catalogue_entries,
    document    text NOT NULL CHECK (length(document) <= 2000),
    key_id      text NOT NULL,
    signature   bytea NOT NULL,
    issued_by   text NOT NULL,
    issued_at   timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz NOT NULL,
    revoked_at  timestamptz
);

CREATE INDEX licences_of_customer ON licences (customer_id, server_name);

CREATE TABLE ratings (
    customer_id text NOT NULL REFERENCES customers,
    server_name text NOT NULL REFERENCES catalogue_entries,
    stars       smallint NOT NULL CHECK (stars BETWEEN 1 AND 5),
    PRIMARY KEY (customer_id, server_name)
);

ALTER TABLE server_versions ENABLE ROW LEVEL SECURITY;
ALTER TABLE server_versions FORCE ROW LEVEL SECURITY;
CREATE POLICY visible_versions ON server_versions
    USING (customer_id = nullif(current_setting('app.customer', true), '')
           OR customer_id IS NULL
           OR current_setting('app.platform', true) = 'on')
    WITH CHECK (customer_id = nullif(current_setting('app.customer', true), '')
                OR current_setting('app.platform', true) = 'on');

ALTER TABLE entry_words ENABLE ROW LEVEL SECURITY;
ALTER TABLE entry_words FORCE ROW LEVEL SECURITY;
CREATE POLICY visible_words ON entry_words
    USING (customer_id = nullif(current_setting('app.customer', true), '')
           OR customer_id IS NULL
           OR current_setting('app.platform', true) = 'on')
    WITH CHECK (customer_id = nullif(current_setting('app.customer', true), '')
                OR current_setting('app.platform', true) = 'on');

ALTER TABLE licences ENABLE ROW LEVEL SECURITY;
ALTER TABLE licences FORCE ROW LEVEL SECURITY;
CREATE POLICY own_licences ON licences
    USING (customer_id = nullif(current_setting('app.customer', true), '')
           OR current_setting('app.platform', true) = 'on')
    WITH CHECK (current_setting('app.platform', true) = 'on');

ALTER TABLE ratings ENABLE ROW LEVEL SECURITY;
ALTER TABLE ratings FORCE ROW LEVEL SECURITY;
CREATE POLICY own_ratings ON ratings
    USING (customer_id = nullif(current_setting('app.customer', true), '')
           OR current_setting('app.platform', true) = 'on')
    WITH CHECK (customer_id = nullif(current_setting('app.customer', true), '')
                OR current_setting('app.platform', true) = 'on');

CREATE TRIGGER licences_changed AFTER INSERT OR UPDATE OR DELETE ON licences
    FOR EACH STATEMENT EXECUTE FUNCTION tell_replicas('catalogue');
CREATE TRIGGER tiers_changed AFTER UPDATE OF tier ON customers
    FOR EACH STATEMENT EXECUTE FUNCTION tell_replicas('catalogue');
