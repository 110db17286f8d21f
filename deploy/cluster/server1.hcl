# Server 1 of three on loopback; "make cluster" starts them. The data
# directory comes from the command line.

name      = "server1"
log_level = "INFO"
bind_addr = "127.0.0.1"

ports {
  http = 4646
  rpc  = 4647
  serf = 4648
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
    retry_join     = ["127.0.0.1:5648", "127.0.0.1:6648"]
    retry_interval = "1s"
  }
}

telemetry {
  prometheus_metrics = true
}
