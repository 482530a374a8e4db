{
  "targets": [
    {
      "target_name": "ptalk",
      "sources": ["<!@(ls native/*.cc)"],
      "include_dirs": ["<!@(node -p \"require('node-addon-api').include\")"],
      "defines": ["NAPI_VERSION=9", "NAPI_DISABLE_CPP_EXCEPTIONS", "NODE_ADDON_API_DISABLE_DEPRECATED", "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS", "_GNU_SOURCE"],
      "cflags": ["-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-unused-parameter"],
      "cflags_cc": ["-std=c++17", "-fvisibility=hidden"],
      "ldflags": ["-Wl,-z,nodelete", "-Wl,-z,relro,-z,now"],
      "libraries": ["-lrt", "-ldl", "-pthread"]
    }
  ]
}
