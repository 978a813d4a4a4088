-- Which of several checks of a server saw it last: each has a number as it begins, and the highest that has told counts.
-- A registration counts as the last one that has: what was asked before says nothing of the server as it is now.

ALTER TABLE server_checks ADD COLUMN begun bigint NOT NULL DEFAULT 0, ADD COLUMN told bigint NOT NULL DEFAULT 0;
