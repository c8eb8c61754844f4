-- When each watermark was last advanced, so that those of writers long gone can be deleted.
ALTER TABLE ingest_ledger ADD COLUMN updated_at timestamptz NOT NULL DEFAULT now();

-- Rows that the database refused for their content, each with the reason; timestamp is NULL for a
-- series. content is json, because jsonb refuses some texts that json accepts, and a refused row must
-- not be refused here again.
CREATE TABLE dead_letters (
    letter_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    written_at  timestamptz NOT NULL DEFAULT now(),
    kind        text NOT NULL CHECK (kind IN
                    ('point', 'histogram', 'summary', 'exemplar', 'series')),
    reason      text NOT NULL,
    series_id   bigint NOT NULL,
    metric_name text,
    "timestamp" timestamptz,
    content     json NOT NULL
);
CREATE INDEX dead_letters_written_at ON dead_letters (written_at);
