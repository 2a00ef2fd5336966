"""The stream app behind the Nordic UART Service as a program, in lock step with its driver."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

from native import APP, CORE, FIRMWARE, SANITIZERS, STRICT, TESTS, call, tool

from firmware.signature.fetch import fetch

NUS = FIRMWARE / "nus"
SIGNATURE = FIRMWARE / "signature"


ADAPTERS = {"zephyr": NUS / "zephyr" / "src", "nimble": NUS / "nimble" / "main"}
# What the part of an adapter that keeps models uses of its world: restarts return here, so that the
# app is run anew.
STAND_IN = """
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
uint8_t *flash_memory(void);
"""
ZEPHYR = """
#define ZEPHYR
#define CONFIG_FLASH_BASE_ADDRESS ((uintptr_t)flash_memory())
#define CONFIG_ESNN_STORE_PAGE 4096u
#define DT_NODELABEL(label) PARTITION_##label
#define FIXED_PARTITION_ID(label) DT_NODELABEL(label)
#define PARTITION_slot1_partition 1
#define ARG_UNUSED(x) (void)(x)
#define SYS_REBOOT_COLD 1
#define K_SECONDS(n) (n)
#define K_MSEC(n) (n)
#define K_NO_WAIT 0
struct flash_area { off_t fa_off; size_t fa_size; };
int flash_area_open(int id, const struct flash_area **area);
int flash_area_write(const struct flash_area *area, off_t at, const void *data, size_t n);
int flash_area_erase(const struct flash_area *area, off_t at, size_t n);
struct k_timer { void (*end)(struct k_timer *); };
#define K_TIMER_DEFINE(name, end, stop) static struct k_timer name = {end}
#define k_timer_start(timer, after, period) (void)(timer)
#define k_timer_stop(timer) (void)(timer)
#define k_sleep(time) (void)(time)
#define sys_reboot(kind) (void)(kind)
"""
ESPIDF = """
#define ESP_OK 0
#define ESP_PARTITION_TYPE_DATA 1
#define ESP_PARTITION_SUBTYPE_ANY 0xff
#define ESP_PARTITION_MMAP_DATA 0
typedef struct { uint32_t size; } esp_partition_t;
typedef uint32_t esp_partition_mmap_handle_t;
typedef void *esp_timer_handle_t;
typedef struct { void (*callback)(void *); const char *name; } esp_timer_create_args_t;
const esp_partition_t *esp_partition_find_first(int type, int subtype, const char *name);
int esp_partition_mmap(const esp_partition_t *partition, size_t at, size_t n, int kind,
                       const void **out, esp_partition_mmap_handle_t *handle);
int esp_partition_write(const esp_partition_t *partition, size_t at, const void *data, size_t n);
int esp_partition_erase_range(const esp_partition_t *partition, size_t at, size_t n);
#define esp_timer_create(arguments, timer) (*(timer) = (void *)(uintptr_t)(arguments), ESP_OK)
#define esp_timer_start_once(timer, micros) ((void)(timer), (void)(micros), ESP_OK)
#define esp_timer_stop(timer) ((void)(timer), ESP_OK)
#define vTaskDelay(ticks) (void)(ticks)
#define pdMS_TO_TICKS(n) (n)
#define esp_restart()
"""
HEADERS = {
    "zephyr": (ZEPHYR, ("zephyr/kernel.h", "zephyr/storage/flash_map.h", "zephyr/sys/reboot.h")),
    "nimble": (
        ESPIDF,
        ("esp_partition.h", "esp_system.h", "esp_timer.h", "freertos/FreeRTOS.h",
         "freertos/task.h"),
    ),
}  # fmt: skip


def build_nus(folder: Path) -> dict[str, Path]:
    """The program with the flash of each adapter, by the adapters' names, with sanitizers."""
    library, flags = fetch(), (tool("cc"), *SANITIZERS)
    parts = (FIRMWARE / "core", FIRMWARE / "app", FIRMWARE / "signature", NUS, library)
    include = [f"-I{part}" for part in parts]
    call([*flags, "-c", library / "monocypher.c", "-o", folder / "monocypher.o"])
    objects = [folder / "monocypher.o"]
    sources = (TESTS / "nus.c", NUS / "nus.c", *APP, *CORE, SIGNATURE / "signature.c")
    for source in sources:
        objects.append(folder / f"{source.stem}-{source.parent.name}.o")
        call([*flags, *STRICT, *include, "-c", source, "-o", objects[-1]])
    programs = {}
    for adapter, place in ADAPTERS.items():
        headers = folder / f"{adapter}-headers"
        content, names = HEADERS[adapter]
        for name in ("standin.h", *names):
            (headers / name).parent.mkdir(parents=True, exist_ok=True)
            (headers / name).write_text('#include "standin.h"\n')
        (headers / "standin.h").write_text(f"#pragma once\n{STAND_IN}{content}")
        programs[adapter] = folder / adapter
        own = (place / "keep.c", TESTS / "nus_flash.c")
        call([*flags, *STRICT, *include, f"-I{headers}", *own, *objects, "-o", programs[adapter]])
    return programs


class Program:
    """An event, then all that comes of it: each notification goes to `notified`."""

    def __init__(self, path: Path, notified: Callable[[bytes], None]) -> None:
        self._notified = notified
        self._process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._settle()

    def event(self, kind: bytes, number: int, data: bytes = b"") -> None:
        """Let something happen: see nus.c."""
        assert self._process.stdin is not None
        self._process.stdin.write(kind + struct.pack("<H", number) + data)
        self._process.stdin.flush()
        self._settle()

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(10) == 0
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _settle(self) -> None:
        out = self._process.stdout
        assert out is not None
        while True:
            head = out.read(2)
            assert len(head) == 2, "the program has ended: see what the sanitizers say"
            (size,) = struct.unpack("<H", head)
            if not size:
                return
            self._notified(out.read(size))


class Watch:
    """The program as what is behind two characteristics; see `uart.Uart`.

    Whoever carries it calls it from one thread.
    """

    def __init__(self, path: Path) -> None:
        self.writes: list[int] = []
        self._notify: Callable[[bytes], None] | None = None
        self._left: int | None = None
        self._lose: Callable[[], None] = lambda: None
        self._program = Program(path, self._say)

    def written(self, data: bytes) -> None:
        self.writes.append(len(data))
        self._program.event(b"w", len(data), data)

    def link(self, notify: Callable[[bytes], None] | None, size: int = 20) -> None:
        self._notify = notify
        self._program.event(b"l", 0 if notify is None else size)

    def lose_after(self, notifications: int, lose: Callable[[], None]) -> None:
        self._left, self._lose = notifications, lose

    def close(self) -> None:
        self._program.close()

    def _say(self, data: bytes) -> None:
        if self._left == 0:
            self._left, self._notify = None, None
            self._lose()
        if self._notify is not None:
            self._left = None if self._left is None else self._left - 1
            self._notify(data)
