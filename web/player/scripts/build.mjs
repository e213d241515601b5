// Makes `dist/heldar-player.js`, one minified ES module, and `dist/heldar-player.d.ts`, its types for those who embed it.
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { build } from 'esbuild';

process.chdir(new URL('..', import.meta.url).pathname);
mkdirSync('dist', { recursive: true });
await build({
  entryPoints: ['src/index.ts'],
  outfile: 'dist/heldar-player.js',
  bundle: true,
  minify: true,
  format: 'esm',
  target: 'es2022',
  legalComments: 'none',
  charset: 'utf8',
});
const tsc = new URL('../node_modules/typescript/bin/tsc', import.meta.url).pathname;
const types = ['--noEmit', 'false', '--emitDeclarationOnly', '--declaration', '--outDir', 'dist/types', '--rootDir', 'src', '-p', 'tsconfig.build.json'];
execFileSync(process.execPath, [tsc, ...types], { stdio: 'inherit' });
writeFileSync('dist/heldar-player.d.ts', "export * from './types/index.js';\n");
