server "127.0.0.1", roles: %w[app], user: ENV.fetch("USER"), port: ENV.fetch("SSH_PORT").to_i,
  ssh_options: { keys: [ENV.fetch("SSH_KEY")], keys_only: true, auth_methods: %w[publickey], forward_agent: false,
                 user_known_hosts_file: ENV.fetch("KNOWN_HOSTS"), config: false }
