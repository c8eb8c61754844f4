-- Registers the series of a batch with a constant number of statements: sqlite3 releases the
-- interpreter lock at each step of a statement, so a statement for each series would be slow.

-- name: create_incoming
CREATE TEMP TABLE IF NOT EXISTS incoming_series (
    series_id           INTEGER PRIMARY KEY,
    metric_name         TEXT,
    metric_type         TEXT,
    unit                TEXT,
    description         TEXT,
    temporality         TEXT,
    is_monotonic        INTEGER,
    cluster_id          TEXT,
    node_id             TEXT,
    service_name        TEXT,
    resource            TEXT,
    resource_schema_url TEXT,
    scope               TEXT,
    scope_schema_url    TEXT,
    attributes          TEXT
);

-- name: clear_incoming
DELETE FROM temp.incoming_series;

-- name: collisions
-- Stored series with the same id and another identity. The identity is what these columns hold:
-- without description, schema URLs, cluster, node and service.
SELECT
    stored.series_id, stored.metric_name, stored.metric_type, stored.unit, stored.temporality,
    stored.is_monotonic, stored.resource, stored.scope, stored.attributes
FROM temp.incoming_series AS incoming
JOIN main.metric_series AS stored ON stored.series_id = incoming.series_id
WHERE (incoming.metric_name, incoming.metric_type, incoming.unit, incoming.temporality,
       incoming.is_monotonic, incoming.resource, incoming.scope, incoming.attributes)
   IS NOT (stored.metric_name, stored.metric_type, stored.unit, stored.temporality,
       stored.is_monotonic, stored.resource, stored.scope, stored.attributes);

-- name: drop_collision
DELETE FROM temp.incoming_series WHERE series_id = ?;

-- name: count_new
SELECT count(*) FROM temp.incoming_series
WHERE series_id NOT IN (SELECT series_id FROM main.metric_series);

-- name: store
INSERT INTO main.metric_series (
    series_id, metric_name, metric_type, unit, description, temporality, is_monotonic,
    cluster_id, node_id, service_name, resource, resource_schema_url, scope, scope_schema_url,
    attributes)
SELECT
    series_id, metric_name, metric_type, unit, description, temporality, is_monotonic,
    cluster_id, node_id, service_name, resource, resource_schema_url, scope, scope_schema_url,
    attributes
FROM temp.incoming_series
WHERE true
ON CONFLICT (series_id) DO UPDATE SET
    description = excluded.description,
    resource_schema_url = excluded.resource_schema_url,
    scope_schema_url = excluded.scope_schema_url
WHERE (description, resource_schema_url, scope_schema_url)
   IS NOT (excluded.description, excluded.resource_schema_url, excluded.scope_schema_url);
