# Server 3 of three on loopback; "make cluster" starts them. The data
# directory comes from the command line.

name      = "server3"
log_level = "INFO"
bind_addr = "127.0.0.1"

ports {
  http = 6646
  rpc  = 6647
  serf = 6648
}

advertise {
  http = "127.0.0.1"
  rpc  = "127.0.0.1"
  serf = "127.0.0.1"
}

server {
  enabled          = true
  bootstrap_expect = 3

  server_join {
    retry_join     = ["127.0.0.1:4648", "127.0.0.1:5648"]
    retry_interval = "1s"
  }
}

telemetry {
  prometheus_metrics = true
}
