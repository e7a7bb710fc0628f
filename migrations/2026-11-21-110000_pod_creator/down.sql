ALTER TABLE pods DROP COLUMN created_by;
