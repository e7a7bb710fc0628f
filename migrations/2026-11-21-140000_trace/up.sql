-- The W3C trace context of what made a wake-up necessary, so that a trace goes on in whoever publishes it and in
-- the spawner. Null where no traces are recorded.
ALTER TABLE outbox ADD COLUMN traceparent text;
