-- Installation parameters: versions that are never changed or deleted, and which of them was saved when. No content:
-- settings, digests, and vectors of our own probe texts.

CREATE TABLE installations (
    customer_id   text NOT NULL CHECK (customer_id ~ '^[a-z][a-z0-9]*(-[a-z0-9]+)*$' AND length(customer_id) <= 40),
    version       integer NOT NULL CHECK (version >= 1),
    fingerprint   text NOT NULL,
    parameters    text NOT NULL CHECK (octet_length(parameters) <= 65536),
    probes_digest text NOT NULL CHECK (probes_digest ~ '^sha256:[0-9a-f]{64}$'),
    probe_vectors bytea NOT NULL,
    dimension     integer NOT NULL CHECK (dimension > 0),
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (customer_id, version),
    UNIQUE (customer_id, fingerprint),
    CONSTRAINT fingerprint_is_of_parameters
        CHECK (fingerprint = 'sha256:' || encode(sha256(convert_to(parameters, 'UTF8')), 'hex')),
    CONSTRAINT vectors_are_whole CHECK (octet_length(probe_vectors) % (4 * dimension) = 0)
);

-- The version saved last is the customer's current one.
CREATE TABLE selections (
    number      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_id text NOT NULL,
    version     integer NOT NULL,
    selected_at timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (customer_id, version) REFERENCES installations
);

CREATE INDEX selections_of_customer ON selections (customer_id, number DESC);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are kept as they are', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TRIGGER installations_are_kept BEFORE UPDATE OR DELETE ON installations
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER installations_stay BEFORE TRUNCATE ON installations
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER selections_are_kept BEFORE UPDATE OR DELETE ON selections
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER selections_stay BEFORE TRUNCATE ON selections
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

ALTER TABLE installations ENABLE ROW LEVEL SECURITY;
ALTER TABLE installations FORCE ROW LEVEL SECURITY;
CREATE POLICY own_installations ON installations
    USING (customer_id = nullif(current_setting('app.customer', true), ''))
    WITH CHECK (customer_id = nullif(current_setting('app.customer', true), ''));

ALTER TABLE selections ENABLE ROW LEVEL SECURITY;
ALTER TABLE selections FORCE ROW LEVEL SECURITY;
CREATE POLICY own_selections ON selections
    USING (customer_id = nullif(current_setting('app.customer', true), ''))
    WITH CHECK (customer_id = nullif(current_setting('app.customer', true), ''));
