"""MySQL and MariaDB: a primary with replicas, by GTID. One set of facts for both dialects."""
