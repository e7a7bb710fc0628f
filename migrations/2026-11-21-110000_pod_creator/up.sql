-- Who created a pod: permissions can be given and taken away, this cannot. Empty for pods from before.
ALTER TABLE pods ADD COLUMN created_by text NOT NULL DEFAULT '';
