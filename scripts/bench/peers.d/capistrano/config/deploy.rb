set :application, "bench"
set :repo_url, ENV.fetch("ORIGIN")
set :branch, "main"
set :deploy_to, ENV.fetch("ROOT")
set :keep_releases, 30
namespace :app do
  task :restart do
    on roles(:app) do
      execute ENV.fetch("RESTART"), ENV.fetch("ROOT"), ENV.fetch("PORT")
    end
  end
end
after "deploy:published", "app:restart"
