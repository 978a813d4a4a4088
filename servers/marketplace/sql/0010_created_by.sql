-- Who made an account: whoever makes one knows its first secrets. NULL: made before this was noted.

ALTER TABLE users ADD COLUMN created_by text CHECK (created_by ~ '^(usr_[a-z2-7]{26}|platform)$');
