// Runs the unit tests by node's own runner, after esbuild has made JavaScript of them.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';

process.chdir(new URL('..', import.meta.url).pathname);
const names = readdirSync('test').filter((name) => name.endsWith('.test.ts'));
const outdir = mkdtempSync(join('node_modules', '.tests-'));
try {
  await build({
    entryPoints: names.map((name) => join('test', name)),
    outdir,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node18',
    sourcemap: 'inline',
  });
  const files = names.map((name) => join(outdir, name.replace(/\.ts$/, '.mjs')));
  const { status } = spawnSync(process.execPath, ['--enable-source-maps', '--test', ...files], { stdio: 'inherit' });
  process.exitCode = status ?? 1;
} finally {
  rmSync(outdir, { recursive: true, force: true });
}
