export * from './errors.ts'
export * from './path.ts'
export * from './server-value.ts'
export * from './value.ts'
