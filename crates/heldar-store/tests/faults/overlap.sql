-- The second segment of the first stream ends inside the third, which the store itself refuses to write.
UPDATE segment SET end_us = end_us + 4000000
WHERE stream_no = (SELECT MIN(stream_no) FROM stream)
  AND start_us = (SELECT MIN(start_us) FROM segment WHERE stream_no = (SELECT MIN(stream_no) FROM stream)
    AND start_us > (SELECT MIN(start_us) FROM segment WHERE stream_no = (SELECT MIN(stream_no) FROM stream)));
