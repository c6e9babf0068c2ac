export { type Config, ConfigError, type ConfigValues } from './config.ts'
export { configFrom, loadConfig } from './config-load.ts'
export { type RunningServer, type ServerParts, StartError, startServer } from './server.ts'
