-- Deployments, roll-backs and migrations are jobs too.

ALTER TABLE jobs DROP CONSTRAINT jobs_kind_check;
ALTER TABLE jobs ADD CONSTRAINT jobs_kind_check
    CHECK (kind IN ('onboarding', 'update', 'build', 'verification', 'deployment', 'rollback', 'migration'));
