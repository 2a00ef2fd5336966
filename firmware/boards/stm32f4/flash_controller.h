/* The flash of an STM32F4, whose upper sectors are of 128 KB. The processor stands still while it
 * works. SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_FLASH_CONTROLLER_H
#define ESNN_FLASH_CONTROLLER_H

#define FLASH 0x40023c00u

enum { ACCESS = 0x00, KEY = 0x04, STATE = 0x0c, CONTROL = 0x10 };

#define FIRST_SECTOR 8u         /* at STORE_BASE */
#define FAILED 0xf2u            /* and these bits are cleared by being written */
#define PROGRAMS (1u | 2u << 8) /* words */
#define PROGRAMMED_AT_ONCE 4u
#define ERASES(page) (2u | (FIRST_SECTOR + (page)) << 3)

#endif
