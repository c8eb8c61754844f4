PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA application_id = 1330007877;
BEGIN TRANSACTION;
CREATE TABLE "cost_entries" (
    timestamp       INTEGER NOT NULL,
    entry_id        TEXT NOT NULL,
    resource_id     TEXT NOT NULL,
    category        TEXT NOT NULL,
    amount          REAL GENERATED ALWAYS AS
                        ((amount_units * 1e9 + amount_nanos) / 1e9 + amount_attos / 1e18) VIRTUAL,
    amount_units    INTEGER NOT NULL,
    amount_nanos    INTEGER NOT NULL,
    amount_attos    INTEGER NOT NULL,
    currency        TEXT NOT NULL,
    region          TEXT,
    cluster_id      TEXT NOT NULL,
    node_id         TEXT NOT NULL,
    service_name    TEXT,
    tags            TEXT NOT NULL,
    description     TEXT NOT NULL,
    billing_period  TEXT NOT NULL,
    source          TEXT NOT NULL,
    source_name     TEXT NOT NULL,
    period_start    INTEGER,
    period_end      INTEGER NOT NULL,
    series_id       INTEGER,
    stream_start    INTEGER,
    start_timestamp INTEGER,
    value           REAL,
    point_count     INTEGER,
    basis           TEXT,
    PRIMARY KEY (timestamp, entry_id)
) WITHOUT ROWID;
INSERT INTO "cost_entries" VALUES(1700000000123456,'e-1','vm-1','storage',-2,750000000,0,'EUR',NULL,'default','default',NULL,'{"team":"größe"}','refund','2023-11','log','',NULL,1700000000123456,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "cost_entries" VALUES(1700000000123456,'series-0000000000000006-1700000000123456','i-1','compute',2,500000000,0,'USD','eu-1','default','default',NULL,'{}','','2023-11','metric','',NULL,1700000000123456,6,0,1699999999123456,2.5,NULL,NULL);
INSERT INTO "cost_entries" VALUES(1700000001123456,'series-0000000000000006-1700000001123456','i-1','compute',1,500000000,0,'USD','eu-1','default','default',NULL,'{}','','2023-11','metric','',NULL,1700000001123456,6,0,1699999999123456,4.0,NULL,NULL);
CREATE TABLE cost_streams (
    series_id              INTEGER NOT NULL,
    stream_start           INTEGER NOT NULL,
    earliest_start         INTEGER,
    latest_start           INTEGER,
    has_fall               INTEGER NOT NULL DEFAULT 0,
    is_split               INTEGER NOT NULL DEFAULT 0,
    last_timestamp         INTEGER,
    last_start_timestamp   INTEGER,
    last_value             REAL,
    last_count             INTEGER,
    closed_timestamp       INTEGER,
    closed_start_timestamp INTEGER,
    closed_value           REAL,
    closed_count           INTEGER,
    zero_length_points     INTEGER NOT NULL DEFAULT 0,
    lone_start             INTEGER,
    quantity_id            INTEGER,
    PRIMARY KEY (series_id, stream_start)
) WITHOUT ROWID;
INSERT INTO "cost_streams" VALUES(6,0,NULL,NULL,0,0,1700000001123456,1699999999123456,4.0,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL);
CREATE TABLE "dead_letters" (
    letter_id   INTEGER PRIMARY KEY,
    written_at  INTEGER NOT NULL DEFAULT
                    (CAST((julianday('now') - 2440587.5) * 86400000 + 0.5 AS INTEGER) * 1000),
    kind        TEXT NOT NULL CHECK (kind IN
                    ('point', 'histogram', 'summary', 'exemplar', 'series', 'cost')),
    reason      TEXT NOT NULL,
    series_id   INTEGER NOT NULL,
    metric_name TEXT,
    timestamp   INTEGER,
    content     TEXT NOT NULL
);
INSERT INTO "dead_letters" VALUES(1,1795471690528000,'point','CHECK constraint failed: value < 100',1,'system.cpu.utilization',1700000000123456,'{"series_id": 1, "time_unix_nano": 1700000000123456000, "start_time_unix_nano": 0, "value": 101.0, "recorded": true}');
CREATE TABLE ingest_ledger (
    receiver_id   TEXT PRIMARY KEY NOT NULL,
    last_sequence INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL DEFAULT
                      (CAST((julianday('now') - 2440587.5) * 86400000 + 0.5 AS INTEGER) * 1000)
) WITHOUT ROWID;
INSERT INTO "ingest_ledger" VALUES('receiver-1',42,1795471690527000);
CREATE TABLE metric_exemplars (
    timestamp  INTEGER NOT NULL,
    series_id  INTEGER NOT NULL,
    value      REAL NOT NULL,
    trace_id   TEXT NOT NULL,
    span_id    TEXT NOT NULL,
    attributes TEXT NOT NULL,
    PRIMARY KEY (timestamp, series_id, trace_id, span_id, attributes, value)
) WITHOUT ROWID;
INSERT INTO "metric_exemplars" VALUES(1700000000123456,3,3.5,'0af7651916cd43dd8448eb211c80319c','b7ad6b7169203331','{"user":"anna"}');
INSERT INTO "metric_exemplars" VALUES(1700000000123456,3,'NaN','0af7651916cd43dd8448eb211c80319c','b7ad6b7169203331','{"user":"anna"}');
CREATE TABLE metric_histograms (
    timestamp       INTEGER NOT NULL,
    series_id       INTEGER NOT NULL,
    start_timestamp INTEGER,
    count           INTEGER,
    sum             REAL,
    min             REAL,
    max             REAL,
    bounds          TEXT,
    bucket_counts   TEXT,
    scale           INTEGER,
    zero_count      INTEGER,
    zero_threshold  REAL,
    positive_offset INTEGER,
    positive_counts TEXT,
    negative_offset INTEGER,
    negative_counts TEXT,
    PRIMARY KEY (timestamp, series_id)
) WITHOUT ROWID;
INSERT INTO "metric_histograms" VALUES(1700000000123456,3,1699999990123456,6,12.5,0.25,7.5,'[0.5,5.0]','[1,3,2]',NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "metric_histograms" VALUES(1700000000123456,4,1699999990123456,6,12.5,0.25,7.5,NULL,NULL,3,2,1.0e-06,-4,'[1,0,3]',7,'[]');
CREATE TABLE metric_series (
    series_id           INTEGER PRIMARY KEY,
    metric_name         TEXT NOT NULL,
    metric_type         TEXT NOT NULL CHECK (metric_type IN
                            ('gauge', 'sum', 'histogram', 'exponential_histogram', 'summary')),
    unit                TEXT NOT NULL,
    description         TEXT NOT NULL,
    temporality         TEXT CHECK (temporality IN ('delta', 'cumulative')),
    is_monotonic        INTEGER CHECK (is_monotonic IN (0, 1)),
    cluster_id          TEXT NOT NULL,
    node_id             TEXT NOT NULL,
    service_name        TEXT,
    resource            TEXT NOT NULL,
    resource_schema_url TEXT NOT NULL,
    scope               TEXT NOT NULL,
    scope_schema_url    TEXT NOT NULL,
    attributes          TEXT NOT NULL,
    first_seen          INTEGER NOT NULL DEFAULT
                            (CAST((julianday('now') - 2440587.5) * 86400000 + 0.5 AS INTEGER) * 1000)
);
INSERT INTO "metric_series" VALUES(-2,'system.cpu.utilization','sum','By','Share of time that a core was busy','cumulative',1,'default','host-1','checkout','{"host.name":"host-1","service.name":"checkout"}','','{"attributes":{},"name":"psutil","version":"1"}','','{"cpu":-2}',1795471690528000);
INSERT INTO "metric_series" VALUES(1,'system.cpu.utilization','gauge','1','Share of time that a core was busy',NULL,NULL,'default','host-1','checkout','{"host.name":"host-1","service.name":"checkout"}','','{"attributes":{},"name":"psutil","version":"1"}','','{"cpu":1}',1795471690528000);
INSERT INTO "metric_series" VALUES(3,'system.cpu.utilization','histogram','1','Share of time that a core was busy','delta',NULL,'default','host-1',NULL,'{"host.name":"host-1","service.name":"checkout"}','','{"attributes":{},"name":"psutil","version":"1"}','','{"cpu":3}',1795471690528000);
INSERT INTO "metric_series" VALUES(4,'system.cpu.utilization','exponential_histogram','1','Größe','delta',NULL,'default','host-1','checkout','{"host.name":"host-1","service.name":"checkout"}','','{"attributes":{},"name":"psutil","version":"1"}','','{"cpu":4}',1795471690528000);
INSERT INTO "metric_series" VALUES(5,'system.cpu.utilization','summary','1','Share of time that a core was busy',NULL,NULL,'default','host-1','checkout','{"host.name":"host-1","service.name":"checkout"}','https://example.org/1','{"attributes":{},"name":"psutil","version":"1"}','','{"cpu":5}',1795471690528000);
CREATE TABLE metric_summaries (
    timestamp       INTEGER NOT NULL,
    series_id       INTEGER NOT NULL,
    start_timestamp INTEGER,
    count           INTEGER,
    sum             REAL,
    quantiles       TEXT NOT NULL,
    quantile_values TEXT NOT NULL,
    PRIMARY KEY (timestamp, series_id)
) WITHOUT ROWID;
INSERT INTO "metric_summaries" VALUES(1700000000123456,5,1699999940123456,10,55.0,'[0.5,0.99]','[5.0,"NaN"]');
CREATE TABLE schema_migrations (
    version    INTEGER PRIMARY KEY,
    applied_at INTEGER NOT NULL DEFAULT
                   (CAST((julianday('now') - 2440587.5) * 86400000 + 0.5 AS INTEGER) * 1000)
);
INSERT INTO "schema_migrations" VALUES(1,1795471690524000);
INSERT INTO "schema_migrations" VALUES(2,1795471690525000);
INSERT INTO "schema_migrations" VALUES(3,1795471690527000);
INSERT INTO "schema_migrations" VALUES(4,1796141014176000);
CREATE TABLE system_metrics (
    timestamp       INTEGER NOT NULL,
    series_id       INTEGER NOT NULL,
    value           REAL,
    start_timestamp INTEGER,
    PRIMARY KEY (timestamp, series_id)
) WITHOUT ROWID;
INSERT INTO "system_metrics" VALUES(1700000000123456,-2,42.0,1699999999123456);
INSERT INTO "system_metrics" VALUES(1700000000123456,1,0.25,NULL);
INSERT INTO "system_metrics" VALUES(1700000001123456,-2,9.0e999,1699999999123456);
INSERT INTO "system_metrics" VALUES(1700000001123456,1,'NaN',NULL);
INSERT INTO "system_metrics" VALUES(1700000002123456,1,NULL,NULL);
CREATE INDEX metric_series_name ON metric_series (metric_name);
CREATE VIEW metric_samples AS
SELECT
    strftime('%Y-%m-%dT%H:%M:%fZ', m.timestamp / 1000000.0, 'unixepoch') AS time,
    m.timestamp,
    s.metric_name,
    m.value,
    s.unit,
    s.metric_type,
    s.temporality,
    s.is_monotonic,
    s.cluster_id,
    s.node_id,
    s.service_name,
    s.attributes,
    s.resource,
    s.scope,
    m.start_timestamp,
    m.series_id
FROM system_metrics AS m
JOIN metric_series AS s ON s.series_id = m.series_id;
CREATE INDEX dead_letters_written_at ON dead_letters (written_at);
CREATE INDEX cost_streams_quantity ON cost_streams (quantity_id) WHERE quantity_id IS NOT NULL;
CREATE INDEX cost_entries_series ON cost_entries (series_id, stream_start, period_end)
    WHERE series_id IS NOT NULL;
COMMIT;
