//! RTSP client sessions, RTSP server, test cameras.
