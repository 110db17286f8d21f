package agent

import (
	"fmt"
	"slices"
	"strings"
)

// ignored lists, by block, the keys of the public configuration language that
// this build knows and does not act on. Patterns are those of path.Match.
var ignored = map[string]string{
	"": `plugin_dir enable_syslog syslog_facility disable_update_check
		disable_anonymous_signature ui keyring consul vault plugin sentinel audit reporting eventlog`,
	"acl": `token_ttl policy_ttl role_ttl`,
	"server": `num_schedulers enabled_schedulers
		job_gc_interval job_gc_threshold eval_gc_threshold batch_eval_gc_threshold deployment_gc_threshold
		csi_volume_claim_gc_interval csi_volume_claim_gc_threshold csi_plugin_gc_threshold acl_token_gc_threshold
		root_key_gc_interval root_key_gc_threshold redundancy_zone upgrade_version default_scheduler_config plan_rejection_tracker
		plan_apply_pipeline license_path deploy_query_rate_limit job_default_priority
		job_max_priority job_max_count job_max_source_size job_tracked_versions oidc_issuer log_file non_production start_timeout`,
	"server.plan_rejection_tracker":     `enabled node_threshold node_window`,
	"server.raft_logstore":              `disable_log_cache verification`,
	"server.raft_logstore.verification": `enabled interval`,
	"client": `alloc_dir alloc_mounts_dir host_volumes_dir host_volume_plugin_dir common_plugin_dir
		options chroot_env preferred_address_family cpu_* memory_* disk_* reservable_cores
		client_min_port client_max_port *_port gc_* template host_volume host_network cni_*
		bridge_network_* nomad_service_discovery artifact users disable_remote_exec no_host_uuid
		cgroup_parent fingerprint log_file max_kill_timeout`,
	"client.users": `dynamic_user_min dynamic_user_max`,
	"rpc": `accept_backlog keep_alive_interval connection_write_timeout stream_open_timeout stream_close_timeout
		dial_timeout`,
	"telemetry": `datadog_address datadog_tags collection_interval publish_allocation_metrics publish_node_metrics
		include_alloc_metadata_in_metrics allowed_metadata_keys_in_metrics disable_dispatched_job_summary_metrics
		disable_quota_utilization_metrics disable_rpc_rate_metrics_labels disable_allocation_hook_metrics circonus_*`,
	"ui":                         `enabled show_cli_hints content_security_policy consul vault label`,
	"ui.content_security_policy": `connect_src default_src form_action frame_ancestors img_src script_src style_src`,
	"ui.consul":                  `ui_url`,
	"ui.vault":                   `ui_url`,
	"ui.label":                   `text background_color text_color`,
	"plugin":                     `args config`,
	"sentinel":                   `import`,
	"audit":                      `enabled sink filter`,
	"reporting":                  `license address export_interval snapshot_retention_time disable_product_usage_reporting`,
	"eventlog":                   `enabled level`,
}

// blockLabels lists the blocks that take a label and what it names.
var blockLabels = map[string]string{
	"keyring": "provider",
	"plugin":  "plugin",
}

// ignoredKeys returns the keys of a block that have no effect.
func ignoredKeys(block string) []string { return strings.Fields(ignored[block]) }

// harmless reports whether a key without effect asks for nothing that is missed.
func harmless(full string, v *node) bool {
	if full == "disable_update_check" || full == "disable_anonymous_signature" {
		return true
	}
	for _, n := range objects(v) {
		if slices.ContainsFunc(n.entries, func(e entry) bool {
			return e.key == "enabled" && e.value.kind == boolNode && e.value.text == "false"
		}) {
			return true
		}
	}
	return v.kind == boolNode && v.text == "false"
}

// refusedBlock returns why a key may not be ignored, "" if it may: to drop it
// would leave the data less protected than the file says.
func refusedBlock(full string, labels []string, v *node) string {
	switch full {
	case "keyring":
		for _, n := range objects(v) {
			if len(labels) == 0 && labelled(n) {
				for _, e := range n.entries {
					labels = append(labels, e.key)
				}
			}
		}
		for _, l := range labels {
			if l != "aead" {
				return fmt.Sprintf("keyring %q: this build keeps root keys wrapped by its own key (aead) only; remove the block", l)
			}
		}
	case "audit":
		if v.kind == boolNode && v.text == "true" || v.kind == objectNode && !harmless(full, v) {
			return full + " is not supported by this build; remove it"
		}
	}
	return ""
}
