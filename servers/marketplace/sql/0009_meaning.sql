-- Vectors of entries' titles and descriptions, which are the catalogue's own texts and no customer's content.

CREATE TABLE entry_vectors (
    server_name text NOT NULL REFERENCES catalogue_entries,
    model       text NOT NULL CHECK (length(model) <= 300),
    customer_id text REFERENCES customers,
    text_digest text NOT NULL CHECK (text_digest ~ '^sha256:[0-9a-f]{64}$'),
    vector      bytea NOT NULL CHECK (length(vector) BETWEEN 4 AND 65536),
    PRIMARY KEY (server_name, model)
);

ALTER TABLE entry_vectors ENABLE ROW LEVEL SECURITY;
ALTER TABLE entry_vectors FORCE ROW LEVEL SECURITY;
CREATE POLICY visible_vectors ON entry_vectors
    USING (customer_id = nullif(current_setting('app.customer', true), '')
           OR customer_id IS NULL
           OR current_setting('app.platform', true) = 'on')
    WITH CHECK (customer_id = nullif(current_setting('app.customer', true), '')
                OR current_setting('app.platform', true) = 'on');
