-- The address of a client in the value of a header: whatever stands there, nothing is raised.

SELECT value, vpk_client_ip(value), host(vpk_client_ip(value)) AS host, masklen(vpk_client_ip(value)) AS bits
  FROM (VALUES ( 1, '203.0.113.9'), ( 2, '203.0.113.9:51234'), ( 3, '::ffff:203.0.113.9'), ( 4, '[::ffff:203.0.113.9]:80'),
               ( 5, '2001:db8::1'), ( 6, '[2001:DB8::1]'), ( 7, '[2001:db8::1]:443'), ( 8, 'fe80::1%eth0'),
               ( 9, '198.51.100.7, 203.0.113.9'), (10, '198.51.100.7,2001:db8::1'), (11, '198.51.100.7, unknown'),
               (12, '198.51.100.7,'), (13, 'unknown'), (14, 'unix:'), (15, '203.0.113.9/32'), (16, '203.0.113'),
               (17, '203.0.113.256'), (18, '203.0.113.9:65536'), (19, '[2001:db8::1'), (20, ''), (21, ' '), (22, ','), (23, NULL))
       AS v (n, value)
 ORDER BY n;
SELECT vpk_client_ip(E' \t\x0b\x0c\r\n203.0.113.9 \t\x0b\x0c\r\n');
-- The longest value that is read.
SELECT vpk_client_ip(repeat(' ', 8181) || '203.0.113.9') AS longest, vpk_client_ip(repeat(' ', 8182) || '203.0.113.9') AS longer,
       vpk_client_ip(repeat('203.0.113.9, ', 1000000)) AS longest_of_all;

-- It is the same value as that of the server's own input.
SELECT count(*) AS addresses,
       count(*) FILTER (WHERE vpk_client_ip(host(address)) = address AND inet_send(vpk_client_ip(host(address))) = inet_send(address)) AS same
  FROM generate_series(0, 4294967295, 65537 * 16) AS n,
       LATERAL (VALUES ('0.0.0.0'::inet + n), ('2001:db8::'::inet + n), ('::'::inet + n * 65536 * 30000)) AS a (address)
 WHERE NOT address <<= '::ffff:0:0/96';
CREATE TEMPORARY TABLE addresses (address inet PRIMARY KEY);
INSERT INTO addresses SELECT vpk_client_ip(a) FROM unnest('{203.0.113.9,2001:db8::1}'::text[]) AS a;
SELECT address, family(address), address <<= '203.0.113.0/24' AS in_v4, address <<= '2001:db8::/32' AS in_v6
  FROM addresses ORDER BY address;

-- A client that sends an address that the key allows: the proxy adds the one that counts.
SELECT token FROM vpk_create('Limited', allowed_ips => '{198.51.100.7}') \gset
SELECT v.value, a.status, t.status AS task
  FROM (VALUES (1, '198.51.100.7'), (2, '203.0.113.9, 198.51.100.7:4711'), (3, '198.51.100.7, 203.0.113.9'), (4, '198.51.100.7, unknown'),
               (5, '198.51.100.7, '), (6, ''), (7, NULL))
       AS v (n, value),
       LATERAL vpk_authenticate('Bearer ' || :'token', client_ip => vpk_client_ip(v.value)) AS a,
       LATERAL vpk_task_start(:'token', client_ip => vpk_client_ip(v.value)) AS t
 ORDER BY v.n;
PREPARE authenticate AS SELECT status FROM vpk_authenticate($1, client_ip => vpk_client_ip($2));
EXECUTE authenticate('Bearer x', 'unknown');

-- Clean up.
DEALLOCATE authenticate;
DELETE FROM vpk.task_leases;
DELETE FROM vpk.keys WHERE name = 'Limited';
