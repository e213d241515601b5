-- Stored totals that are not the sums over the segments; for tests of what finds them.
UPDATE stream SET segment_count = segment_count + 3, total_bytes = total_bytes - 1000, newest_end_us = NULL
WHERE stream_no = (SELECT MIN(stream_no) FROM stream);
