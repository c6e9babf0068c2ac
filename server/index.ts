export { type Config, ConfigError, type ConfigValues, configFrom, loadConfig } from './config.ts'
export { type RunningServer, type ServerParts, StartError, startServer } from './server.ts'
