import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import { defineConfig } from 'vite';

// The function serves what is compressed here; it has no time to compress.
const compressed = {
  name: 'compressed',
  apply: 'build',
  writeBundle(options) {
    const walk = (folder) => {
      for (const name of readdirSync(folder)) {
        const file = join(folder, name);
        if (statSync(file).isDirectory()) walk(file);
        else if (/\.(html|js|css|svg)$/.test(name)) {
          const data = readFileSync(file);
          if (data.length < 1024) continue;
          writeFileSync(`${file}.br`, brotliCompressSync(data));
          writeFileSync(`${file}.gz`, gzipSync(data, { level: 9 }));
        }
      }
    };
    walk(options.dir);
  },
};

// No file is inlined and no script is written into the page: the content security policy allows neither.
export default defineConfig({
  base: '/',
  build: { target: 'es2022', assetsInlineLimit: 0, modulePreload: { polyfill: false }, cssMinify: true, reportCompressedSize: false },
  plugins: [compressed],
});
