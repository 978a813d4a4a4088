-- Approvals of changes to a customer's data. A row holds who, when, how many rows, and digests: what is to be changed is
-- known to the customer's instance alone, under the handle `change_id`.

CREATE TABLE approvals (
    approval_id      text PRIMARY KEY CHECK (approval_id ~ '^apr_[a-z2-7]{26}$'),
    customer_id      text NOT NULL REFERENCES customers,
    requested_by     text NOT NULL,
    server_name      text NOT NULL REFERENCES catalogue_entries,
    tool             text NOT NULL CHECK (length(tool) BETWEEN 1 AND 128),
    arguments        text NOT NULL CHECK (arguments ~ '^sha256:[0-9a-f]{64}$'),
    pin              text NOT NULL CHECK (pin ~ '^sha256:[0-9a-f]{64}$'),
    policy           text NOT NULL CHECK (policy ~ '^sha256:[0-9a-f]{64}$'),
    change_id        text NOT NULL CHECK (change_id ~ '^chg_[a-z2-7]{26}$'),
    changed_rows     bigint NOT NULL CHECK (changed_rows >= 0),
    state            text NOT NULL DEFAULT 'waiting'
                     CHECK (state IN ('waiting', 'approved', 'denied', 'dispatched', 'applied', 'refused', 'unknown')),
    decided_by       text CHECK (decided_by <> requested_by),
    created_at       timestamptz NOT NULL DEFAULT now(),
    expires_at       timestamptz NOT NULL,
    decided_at       timestamptz,
    dispatched_at    timestamptz,
    CHECK (state IN ('waiting') OR decided_by IS NOT NULL)
);

CREATE INDEX approvals_of_customer ON approvals (customer_id, created_at);

ALTER TABLE approvals ENABLE ROW LEVEL SECURITY;
ALTER TABLE approvals FORCE ROW LEVEL SECURITY;
CREATE POLICY own_approvals ON approvals
    USING (customer_id = nullif(current_setting('app.customer', true), ''))
    WITH CHECK (customer_id = nullif(current_setting('app.customer', true), ''));
