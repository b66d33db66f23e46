-- The functions of baseline.c; :library is where it was built.
CREATE FUNCTION bench.nothing(token text) RETURNS text
    LANGUAGE c VOLATILE AS :'library', 'baseline_nothing';
CREATE FUNCTION bench.spi_lookup(token text) RETURNS text
    LANGUAGE c VOLATILE AS :'library', 'baseline_spi_lookup';
CREATE FUNCTION bench.index_lookup(token text) RETURNS text
    LANGUAGE c VOLATILE AS :'library', 'baseline_index_lookup';
