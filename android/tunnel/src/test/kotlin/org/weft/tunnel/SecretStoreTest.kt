package org.weft.tunnel

import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNull
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import java.io.File
import java.io.IOException
import java.nio.file.Files
import java.nio.file.attribute.PosixFilePermissions
import java.security.KeyStoreException
import java.security.ProviderException
import javax.crypto.KeyGenerator
import javax.crypto.spec.SecretKeySpec

@RunWith(RobolectricTestRunner::class)
class SecretStoreTest {
    @get:Rule
    val temporary = TemporaryFolder()

    private val secret = "the device's key".toByteArray()
    private val key = newKey()
    private val folder get() = File(temporary.root, "secrets")
    private val store get() = SecretStore(folder) { key }

    private fun newKey() = KeyGenerator.getInstance("AES").apply { init(256) }.generateKey()

    @Test
    fun whatIsStoredComesBackAfterARestart() {
        assertNull(store.load("state"))
        store.store("state", secret)
        assertArrayEquals(secret, store.load("state"))
        store.store("state", byteArrayOf())
        assertArrayEquals(byteArrayOf(), store.load("state"))
        store.store("state", null)
        store.store("state", null)
        assertNull(store.load("state"))
    }

    @Test
    fun nothingOfItStandsOnTheDisk() {
        store.store("state", secret)
        val bytes = File(folder, "state").readBytes()
        assertFalse(String(bytes, Charsets.ISO_8859_1).contains(String(secret)))
        store.store("state", secret)
        assertFalse("no two files are alike", bytes.contentEquals(File(folder, "state").readBytes()))
    }

    @Test
    fun nobodyElseMayReadItAndNothingElseIsLeft() {
        store.store("state", secret)
        val rights = Files.getPosixFilePermissions(File(folder, "state").toPath())
        assertEquals("rw-------", PosixFilePermissions.toString(rights))
        assertEquals(listOf("state"), folder.list()!!.toList())
    }

    @Test
    fun aDamagedFileCountsAsAbsentIsToldAndKept() {
        store.store("state", secret)
        val file = File(folder, "state")
        val whole = file.readBytes()
        for (damage in listOf(whole.dropLast(1).toByteArray(), byteArrayOf(), byteArrayOf(9) + whole.drop(1))) {
            file.writeBytes(damage)
            var lost = false
            assertNull(store.load("state") { lost = true })
            assertTrue(lost)
            assertArrayEquals(damage, File(folder, "state.lost").readBytes())
            assertNull(store.load("state") { error("told twice") })
        }
    }

    @Test
    fun anotherKeyOpensNothing() {
        store.store("state", secret)
        val other = newKey()
        var lost = false
        assertNull(SecretStore(folder) { other }.load("state") { lost = true })
        assertTrue(lost)
    }

    @Test
    fun oneFileDoesNotPassForAnother() {
        store.store("state", secret)
        File(folder, "state").copyTo(File(folder, "other"))
        assertNull(store.load("other"))
    }

    @Test
    fun aFailingKeyStoreIsAnErrorAndLosesNothing() {
        store.store("state", secret)
        val broken = SecretStore(folder) { throw KeyStoreException("locked") }
        assertThrows(IOException::class.java) { broken.load("state") }
        assertThrows(IOException::class.java) { broken.store("state", byteArrayOf(1)) }
        assertArrayEquals(secret, store.load("state"))
    }

    @Test
    fun aKeyThatCannotBeUsedTodayLosesNothingEither() {
        store.store("state", secret)
        val broken = SecretStore(folder) { throw ProviderException("the key store is busy") }
        assertThrows(IOException::class.java) { broken.load("state") }
        assertThrows(IOException::class.java) { broken.store("state", byteArrayOf(1)) }
        // What the cipher refuses before it looks at a byte of the file.
        val unusable = SecretStore(folder) { SecretKeySpec(ByteArray(5), "AES") }
        assertThrows(IOException::class.java) { unusable.load("state") { error("lost") } }
        assertArrayEquals(secret, store.load("state"))
    }

    @Test
    fun aNameIsNoPath() {
        for (name in listOf("../state", "", "a/b", "State")) {
            assertThrows(name, IllegalArgumentException::class.java) { store.store(name, secret) }
        }
    }
}
