-- Calls that an installed server did not answer, beside what it served: which server is away is seen by who sees its usage.

ALTER TABLE usage ADD COLUMN failures bigint NOT NULL DEFAULT 0 CHECK (failures >= 0);
