-- Heldar store, schema 5, PostgreSQL. The SQLite text beside it describes the same tables.
--
-- The lease under which results came: tracks of one lease are not those of another.

-- `lse_` and 32 hexadecimal digits; null: the worker held no lease on the task.
ALTER TABLE producer ADD COLUMN lease_id TEXT COLLATE "C" CHECK (length(lease_id) = 36);
DROP INDEX producer_once;
CREATE UNIQUE INDEX producer_once
    ON producer (coalesce(kernel, ''), coalesce(credential, ''), coalesce(worker_id, ''), coalesce(lease_id, ''));
